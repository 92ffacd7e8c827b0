-- ARGV: present, how long closed keys are remembered, {{key, delay, {workflow, run, …}}, …}
local present, remember = now(), tonumber(ARGV[2])
local asked = cmsgpack.unpack(ARGV[3])
if #asked == 0 then return end
prepare(present)
local wanted, members, closed = {}, {}, {}
for i, each in ipairs(asked) do
  wanted[i] = each[1]
  members[i] = in_runs(each[3][2], each[1])
  closed[i] = 'c' .. members[i]
end
local known, memory = find(wanted), redis.call('ZMSCORE', expiry, unpack(closed))
local values, dues, names, runs_, again = {}, {}, {}, {}, {}

for i, each in ipairs(asked) do
  local key, timer = each[1], each[3]
  if memory[i] then
    again[#again + 1] = string.format('%.0f', later(present, remember)) -- somebody still asks
    again[#again + 1] = closed[i]
  else
    local before = known[key]
    if not before then
      timer[9], timer[10] = later(present, each[2]), false
    else
      timer = before
    end
    if not before or before[10] then
      timer[10] = false
      values[#values + 1] = key
      values[#values + 1] = cmsgpack.pack(timer)
      known[key] = timer -- the same key once more in this batch changes nothing
    end
    -- all of them each time: what a server has thrown away is there again
    dues[#dues + 1] = 0
    dues[#dues + 1] = in_due(timer[1], timer[9], key)
    names[#names + 1] = 0
    names[#names + 1] = in_keys(timer[1], key)
    runs_[#runs_ + 1] = 0
    runs_[#runs_ + 1] = members[i]
  end
end

call('HSET', timers, values)
call('ZADD', due, dues)
call('ZADD', keys, names)
call('ZADD', runs, runs_)
call('ZADD', expiry, again)
