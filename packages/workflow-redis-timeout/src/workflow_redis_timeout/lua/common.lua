-- What all scripts share; put before each of them.
--
-- A bucket is six tables, all named in KEYS and all with one hash tag, so that they are one slot of a
-- cluster. Each always holds a mark besides what is told here, so that it is there even when it is
-- empty: while a slot is moving, a script whose tables are not all in one place is refused before its
-- first line, and can never break off half-way because a table that it has just emptied is gone.
--
--   timers   hash    key -> {workflow, run, status, entered version, name, attempts, error,
--                    repeat, due, parked}
--   due      sorted  workflow, time, key: those that are not parked
--   keys     sorted  workflow, key: all open ones
--   runs     sorted  run, key: all open and closed ones
--   expiry   sorted  by time: 'c' with run and key, a closed one remembered; 'a' with a token
--   answers  hash    token of a call that closed timers -> what it answered, for a call repeated
--
-- Times are microseconds. Where there is no time to sort by, all scores are 0 and the order is that
-- of the bytes; so `due` has twenty digits, and each workflow's part is a range of its own.
-- ARGV[1] is the present, or empty: the server's own.

local timers, due, keys, runs, expiry, answers = unpack(KEYS)
local MARK = '\255' -- in no UTF-8 text, hence no key, workflow or run
local LAST = 253402300799000000 -- the end of the year 9999, beyond which no calendar goes
local SWEPT_AT_ONCE = 20

local function now()
  if ARGV[1] ~= '' then return tonumber(ARGV[1]) end
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end

local function later(present, delay)
  return math.max(0, math.min(present + delay, LAST))
end

-- The head of all members of a workflow or run, and what comes right behind the last of them. Zero
-- ends the name and is in no name: else 'a' with a zero could be taken for 'a'.
local heads = {}
local function head_of(name)
  local head = heads[name]
  if not head then
    head = string.gsub(name, '[%z\1]', {['\0'] = '\1\1', ['\1'] = '\1\2'}) .. '\0'
    heads[name] = head
  end
  return head
end

local function range(name)
  local head = head_of(name)
  return head, string.sub(head, 1, -2) .. '\1'
end

local function in_due(workflow, time, key)
  return head_of(workflow) .. string.format('%020.0f', time) .. key
end

local function in_keys(workflow, key)
  return head_of(workflow) .. key
end

-- Most keys begin with their run, which is then not kept once more.
local function in_runs(run, key)
  if string.sub(key, 1, #run) == run then
    return head_of(run) .. '+' .. string.sub(key, #run + 1)
  end
  return head_of(run) .. '=' .. key
end

-- What `in_runs` made the member of.
local function key_of(run, head, member)
  local kept = string.sub(member, #head + 1)
  local rest = string.sub(kept, 2)
  return string.sub(kept, 1, 1) == '+' and run .. rest or rest
end

-- Calls a command on a table with as many arguments as there are, in parts that Lua can take.
local function call(command, table_, arguments)
  for first = 1, #arguments, 1000 do
    redis.call(command, table_, unpack(arguments, first, math.min(first + 999, #arguments)))
  end
end

-- The open timers with these keys, by key; each is there once, however often it is asked for.
local function find(wanted)
  local found = {}
  for first = 1, #wanted, 1000 do
    local last = math.min(first + 999, #wanted)
    for i, value in ipairs(redis.call('HMGET', timers, unpack(wanted, first, last))) do
      if value then found[wanted[first + i - 1]] = cmsgpack.unpack(value) end
    end
  end
  return found
end

-- Takes open timers, as `find` answers them, out of all tables but `runs`.
local function drop(found)
  local places, names, dues = {}, {}, {}
  for key, timer in pairs(found) do
    places[#places + 1] = key
    names[#names + 1] = in_keys(timer[1], key)
    dues[#dues + 1] = in_due(timer[1], timer[9], key)
  end
  call('HDEL', timers, places)
  call('ZREM', keys, names)
  call('ZREM', due, dues)
end

-- To be called before anything is written.
local function prepare(present)
  if redis.call('EXISTS', unpack(KEYS)) < #KEYS then
    redis.call('HSET', timers, MARK, '')
    redis.call('HSET', answers, MARK, '')
    for _, table_ in ipairs({due, keys, runs}) do redis.call('ZADD', table_, 0, MARK) end
    redis.call('ZADD', expiry, 'inf', MARK)
  end
  local ended = redis.call(
    'ZRANGEBYSCORE', expiry, '-inf', string.format('%.0f', present), 'LIMIT', 0, SWEPT_AT_ONCE
  )
  for _, member in ipairs(ended) do
    local what = string.sub(member, 2)
    if string.sub(member, 1, 1) == 'c' then
      redis.call('ZREM', runs, what)
    else
      redis.call('HDEL', answers, what)
    end
    redis.call('ZREM', expiry, member)
  end
end

-- Timers as one MessagePack text, {{key, {workflow, …}}, …}: a tenth of the work of a reply of many
-- parts. Keys that have lost their timer, which a server that evicts can bring about, are left out
-- and their places in `wanted` answered as a second value; so are those that do not end as `ends`
-- says.
local function rows(wanted, ends)
  local out, orphans = {}, {}
  for first = 1, #wanted, 1000 do
    local last = math.min(first + 999, #wanted)
    for i, value in ipairs(redis.call('HMGET', timers, unpack(wanted, first, last))) do
      local place = first + i - 1
      if value and (not ends or string.sub(value, -#ends[place]) == ends[place]) then
        out[#out + 1] = '\146' .. cmsgpack.pack(wanted[place]) .. value
      else
        orphans[#orphans + 1] = place
      end
    end
  end
  return struct.pack('>BI4', 0xdd, #out) .. table.concat(out), orphans
end
