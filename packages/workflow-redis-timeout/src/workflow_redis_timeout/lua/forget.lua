-- ARGV: present, {run, …}
prepare(now())
for _, run in ipairs(cmsgpack.unpack(ARGV[2])) do
  local head, beyond = range(run)
  local open = {}
  local members = redis.call('ZRANGEBYLEX', runs, '[' .. head, '(' .. beyond)
  for _, member in ipairs(members) do
    if redis.call('ZREM', expiry, 'c' .. member) == 0 then
      open[#open + 1] = key_of(run, head, member)
    end
  end
  drop(find(open))
  call('ZREM', runs, members)
end
