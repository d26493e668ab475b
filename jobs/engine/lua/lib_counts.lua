-- Part of settle.lua: how many runs ended how, for the fleet and for RQ's record of the worker.
-- Times are epoch seconds with six decimals. Reading such a number takes long: of two times of one run the last four digits
-- of the seconds and the decimals say how far they are apart (what the digits' codes are too much is the same in both).
local LENGTH, AROUND = #'1700000000.000000', 10000 * 1000000
local function micros(time)
  local a, b, c, d, _, e, f, g, h, i, j = time:byte(LENGTH - 10, LENGTH)
  return (((((((((a * 10 + b) * 10 + c) * 10 + d) * 10 + e) * 10 + f) * 10 + g) * 10 + h) * 10 + i) * 10 + j)
end

local function seconds_between(begun, ended)
  if #begun ~= LENGTH or #ended ~= LENGTH then
    return tonumber(ended) - tonumber(begun)
  end
  return (micros(ended) - micros(begun)) % AROUND / 1000000
end

local succeeded, failed, worked, counts = 0, 0, 0, {}
local function count_many(kind, job_type, number, time)
  local name = kind .. ':' .. job_type
  counts[name] = (counts[name] or 0) + number
  succeeded = succeeded + (kind == 'finished' and number or 0)
  failed = failed + ((kind == 'failed' or kind == 'retry' or kind == 'stopped') and number or 0)
  worked = worked + time
end

local function count(run)
  count_many(run.kind, run.type, 1, seconds_between(run.begun, run.ended))
end

local function write_counts()
  for name, by in pairs(counts) do
    redis.call('HINCRBY', P .. ':fleet:counters', name, by)
  end
  local me = P .. ':worker:' .. worker
  if redis.call('EXISTS', me) == 1 then
    redis.pcall('HINCRBY', me, 'successful_job_count', succeeded)
    redis.pcall('HINCRBY', me, 'failed_job_count', failed)
    redis.pcall('HINCRBYFLOAT', me, 'total_working_time', string.format('%.6f', worked))
  end
end
