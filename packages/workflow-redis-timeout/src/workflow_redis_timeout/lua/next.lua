-- ARGV: present, {workflow, …}. Answers the microseconds until the first is due, or nothing.
local first = nil
for _, workflow in ipairs(cmsgpack.unpack(ARGV[2])) do
  local head, beyond = range(workflow)
  local member = redis.call('ZRANGEBYLEX', due, '[' .. head, '(' .. beyond, 'LIMIT', 0, 1)[1]
  if member then
    first = math.min(first or LAST, tonumber(string.sub(member, #head + 1, #head + 20)))
  end
end
return first and first - now()
