-- ARGV: present, {run, …}. Answers the keys of their closed timers as one MessagePack text.
local told = {}
for _, run in ipairs(cmsgpack.unpack(ARGV[2])) do
  local head, beyond = range(run)
  local members = redis.call('ZRANGEBYLEX', runs, '[' .. head, '(' .. beyond)
  for _, member in ipairs(members) do
    if redis.call('ZSCORE', expiry, 'c' .. member) then
      told[#told + 1] = cmsgpack.pack(key_of(run, head, member))
    end
  end
end
return struct.pack('>BI4', 0xdd, #told) .. table.concat(told)
