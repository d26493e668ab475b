-- Part of settle.lua: what it is told of a run.
-- What a run does not say of itself its head says, and else it is nothing.
local heads, first_run = {}, 5 + N_HEADS
for n = 1, N_HEADS do
  local head = cjson.decode(ARGV[4 + n])
  head.wait, head.reason, head.unique, head.exc_b64 = 0, '', '', ''
  heads[texts[n]] = {__index = head}
end

local function read(at)
  local head = heads[ARGV[at]]
  local is_short = head.__index.request
  local run = setmetatable({id = ARGV[at + 1], execution = ARGV[at + 2], value = ARGV[at + 3], begun = ARGV[at + 4],
    ended = ARGV[at + 5], flags = is_short and 'b' or ARGV[at + 6], exc = is_short and '' or ARGV[at + 8]}, head)
  run.in_batch, run.is_plain = run.flags:byte() == IN_BATCH, run.flags == '' or run.flags == 'b'
  if not is_short and ARGV[at + 7] ~= '' then
    local more = cjson.decode(ARGV[at + 7])
    run.wait, run.reason, run.unique, run.exc_b64, run.data = more.wait, more.reason, more.unique, more.exc_b64, more.data
    run.letter = more.letter
  end
  return run
end
