-- A reader takes ids from several lists in turn, a chunk at a time; what was popped and not used goes back to where it was.
-- A source is {key, filed = name of the list, index = set of the names of such lists that are not empty} or just {key}.
-- One that somebody made another kind of key is as good as empty: an error here would lose what the call has popped.
local LARGEST_CHUNK = 64

local function new_reader(queue, sources, chunk)
  return {queue = queue, sources = sources, at = 1, ids = {}, next = 1, chunk = chunk}
end

local function put_back(reader)
  local rest = {}
  for n = #reader.ids, reader.next, -1 do
    rest[#rest + 1] = reader.ids[n]
  end
  if #rest > 0 then
    redis.call('LPUSH', reader.sources[reader.at].key, unpack(rest))
  end
  reader.ids, reader.next = {}, 1
end

local function leave_source(reader)
  put_back(reader)
  reader.at = reader.at + 1
end

local function next_id(reader)
  while reader.next > #reader.ids do
    local source = reader.sources[reader.at]
    if not source then
      return nil
    end
    reader.ids, reader.next = redis.pcall('LPOP', source.key, reader.chunk) or {}, 1
    reader.chunk = math.min(LARGEST_CHUNK, reader.chunk * 2)
    if #reader.ids == 0 then
      reader.at = reader.at + 1
      if source.filed then
        redis.call('SREM', source.index, source.filed)
      end
    end
  end
  reader.next = reader.next + 1
  return reader.ids[reader.next - 1]
end
