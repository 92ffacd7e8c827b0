-- ARGV: present, {key, …}
prepare(now())
local values, dues = {}, {}
for key, timer in pairs(find(cmsgpack.unpack(ARGV[2]))) do
  if not timer[10] then
    dues[#dues + 1] = in_due(timer[1], timer[9], key)
    timer[10] = true
    values[#values + 1] = key
    values[#values + 1] = cmsgpack.pack(timer)
  end
end
call('HSET', timers, values)
call('ZREM', due, dues)
