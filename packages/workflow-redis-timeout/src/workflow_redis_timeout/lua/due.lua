-- ARGV: present, limit, {workflow, …}, microseconds. Answers rows, earliest first: of what is
-- due, or will be before so many microseconds have passed.
local present, limit = now(), tonumber(ARGV[2])
local workflows = cmsgpack.unpack(ARGV[3])
local last = later(present, tonumber(ARGV[4]))
prepare(present)

-- {time, key, member}, …
local function earliest()
  local found = {}
  for _, workflow in ipairs(workflows) do
    local head = head_of(workflow)
    local beyond = head .. string.format('%020.0f', last + 1)
    local members = redis.call(
      'ZRANGEBYLEX', due, '[' .. head, '(' .. beyond, 'LIMIT', 0, limit
    )
    for _, member in ipairs(members) do
      local time = tonumber(string.sub(member, #head + 1, #head + 20))
      found[#found + 1] = {time, string.sub(member, #head + 21), member}
    end
  end
  if #workflows > 1 then
    table.sort(found, function(one, other)
      if one[1] == other[1] then return one[2] < other[2] end
      return one[1] < other[1]
    end)
    for i = #found, limit + 1, -1 do found[i] = nil end
  end
  return found
end

while true do
  local found, names, ends = earliest(), {}, {}
  for i, each in ipairs(found) do
    -- a timer's last two values: another time, or parked, and this place of it is out of date
    names[i], ends[i] = each[2], cmsgpack.pack(each[1], false)
  end
  local answer, orphans = rows(names, ends)
  if #orphans == 0 then return answer end
  -- they would stand at the head of the list for ever
  for _, place in ipairs(orphans) do redis.call('ZREM', due, found[place][3]) end
end
