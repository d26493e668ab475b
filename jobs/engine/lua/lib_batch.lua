-- Commands of one kind for many members, sent together: `later` collects one or two arguments, `flush` sends. A key that
-- somebody made another kind of is put aside if it is ours, else passed over: what belongs into the others must get there.
--include lib_strange
local collected, kinds, SLICE = {}, {}, 2000
local function collected_for(command, key)
  local of_command = collected[command]
  if not of_command then
    of_command = {}
    collected[command] = of_command
    kinds[#kinds + 1] = command
  end
  local list = of_command[key]
  if not list then
    list = {}
    of_command[key] = list
  end
  return list
end

local function later(command, key, first, second)
  local list = collected_for(command, key)
  local n = #list
  list[n + 1], list[n + 2] = first, second
end

-- Only what is ours is renamed: nobody but us has anything under such a name.
local function send(command, key, ...)
  local answer = redis.pcall(command, key, ...)
  if type(answer) == 'table' and (answer.err or ''):find('WRONGTYPE', 1, true) and key:find('^[^:]*:fleet:') then
    put_strange_aside(key)
    redis.pcall(command, key, ...)
  end
end

local function flush()
  for _, command in ipairs(kinds) do
    for key, list in pairs(collected[command]) do
      for at = 1, #list, SLICE do
        send(command, key, unpack(list, at, math.min(at + SLICE - 1, #list)))
      end
    end
  end
  collected, kinds = {}, {}
end
