-- ARGV: present, limit, workflow, key to begin after, or the mark. Answers rows in order of key.
local head, beyond = range(ARGV[3])
local first = ARGV[4] == MARK and '[' .. head or '(' .. head .. ARGV[4]
while true do
  local found = redis.call('ZRANGEBYLEX', keys, first, '(' .. beyond, 'LIMIT', 0, ARGV[2])
  local names = {}
  for i, member in ipairs(found) do names[i] = string.sub(member, #head + 1) end
  local answer, orphans = rows(names)
  if #orphans == 0 then return answer end
  for _, place in ipairs(orphans) do redis.call('ZREM', keys, found[place]) end
end
