-- ARGV: present, {{key, delay, attempts, error, repeat}, …}. Parked timers stay parked.
local present = now()
prepare(present)
local asked, wanted = cmsgpack.unpack(ARGV[2]), {}
for i, each in ipairs(asked) do wanted[i] = each[1] end
local known, before, after, values = find(wanted), {}, {}, {}
for key, timer in pairs(known) do before[#before + 1] = in_due(timer[1], timer[9], key) end
for _, each in ipairs(asked) do
  local timer = known[each[1]]
  if timer then
    timer[9], timer[6], timer[7] = later(present, each[2]), each[3], each[4]
    timer[8] = math.max(timer[8], each[5]) -- who comes late must not turn it back
  end
end
for key, timer in pairs(known) do
  values[#values + 1] = key
  values[#values + 1] = cmsgpack.pack(timer)
  if not timer[10] then
    after[#after + 1] = 0
    after[#after + 1] = in_due(timer[1], timer[9], key)
  end
end
call('ZREM', due, before)
call('HSET', timers, values)
call('ZADD', due, after)
