-- ARGV: present, how long closed keys are remembered, token of this call, how long its answer is
-- kept, {key, …}. Answers '1' or '0' for each key, as one text.
local token = ARGV[3]
local known = redis.call('HGET', answers, token)
if known then return known end -- the first answer was lost on its way
local present = now()
prepare(present)
local wanted = cmsgpack.unpack(ARGV[5])
local open = find(wanted)
drop(open)
local forgotten = string.format('%.0f', later(present, tonumber(ARGV[2])))
local closed, told = {}, {}
for i, key in ipairs(wanted) do
  local timer = open[key]
  told[i] = timer and '1' or '0'
  if timer then
    open[key] = nil -- asked for twice, it is closed once
    closed[#closed + 1] = forgotten
    closed[#closed + 1] = 'c' .. in_runs(timer[2], key)
  end
end
local answer = table.concat(told)
if #closed > 0 then
  call('ZADD', expiry, closed)
  redis.call('HSET', answers, token, answer)
  redis.call('ZADD', expiry, later(present, tonumber(ARGV[4])), 'a' .. token)
end
return answer
