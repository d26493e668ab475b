-- Dead letters: failed jobs by time of death, and by the fingerprint of their error. A letter is the failed job itself; what
-- is kept here only finds it, so a job that RQ's tools delete or run again is no letter any more, whatever stands here.
local function exhume(P, id)
  local known = P .. ':fleet:dead-letters:known'
  local entry = redis.call('HGET', known, id)
  redis.call('ZREM', P .. ':fleet:dead-letters', id)
  if entry then
    local fingerprint, job_type = entry:match('^(%S*) ?(.*)$')
    local same = P .. ':fleet:dead-letters:of:' .. fingerprint
    redis.call('HDEL', known, id)
    redis.call('ZREM', P .. ':fleet:dead-letters:type:' .. job_type, id)
    redis.call('ZREM', same, id)
    if redis.call('EXISTS', same) == 0 then
      redis.call('ZREM', P .. ':fleet:dead-letters:groups', fingerprint)
      redis.call('UNLINK', P .. ':fleet:dead-letters:group:' .. fingerprint)
    end
  end
end

-- A job has failed for good; `letter` is what its worker says of the error.
local function bury(P, id, job_type, letter, died_at)
  exhume(P, id)
  local fingerprint = letter.fingerprint
  local group = P .. ':fleet:dead-letters:group:' .. fingerprint
  redis.call('HSET', P .. ':job:' .. id, 'error_text', letter.text, 'spent', letter.spent and '1' or '')
  redis.call('ZADD', P .. ':fleet:dead-letters', died_at, id)
  redis.call('HSET', P .. ':fleet:dead-letters:known', id, fingerprint .. ' ' .. job_type)
  redis.call('ZADD', P .. ':fleet:dead-letters:of:' .. fingerprint, died_at, id)
  if job_type ~= '' then
    redis.call('ZADD', P .. ':fleet:dead-letters:type:' .. job_type, died_at, id)
  end
  redis.call('ZADD', P .. ':fleet:dead-letters:groups', died_at, fingerprint)
  redis.call('HSETNX', group, 'first', died_at)
  redis.call('HINCRBY', group, 'seen', 1)
  redis.call('HSET', group, 'type', job_type, 'error', letter.error, 'text', letter.text)
end

-- How many jobs of a type used up their retries, in all and today (UTC, by Redis' clock); and of a queue and a lane.
local EXHAUSTED_KEPT = 8 * 86400
local function count_exhausted(P, id, job_type, seconds)
  local place = redis.call('HMGET', P .. ':job:' .. id, 'origin', 'lane')
  if place[1] then
    redis.call('HINCRBY', P .. ':fleet:exhausted-at', 'queue ' .. place[1], 1)
    redis.call('HINCRBY', P .. ':fleet:exhausted-at', 'lane ' .. ((place[2] or '') ~= '' and place[2] or 'default'), 1)
  end
  local today = P .. ':fleet:exhausted:' .. string.format('%d', math.floor(seconds / 86400))
  redis.call('HINCRBY', P .. ':fleet:exhausted', job_type, 1)
  if redis.call('HINCRBY', today, job_type, 1) == 1 then
    redis.call('EXPIRE', today, EXHAUSTED_KEPT)
  end
end

-- Whether a job is a dead letter, from its status and what sets it aside; nil while nobody knows: it may be about to fail.
local function is_letter(status, quarantined)
  if status == 'started' and not quarantined then
    return nil
  end
  return status == 'failed' and not quarantined
end

-- Whether what stands in the quarantine is this job: it may have been another of the same id.
local function is_set_aside(status, quarantined)
  return not status or (quarantined or false) ~= false
end

-- Whether the ledger knows that a durable job has ended: one whose hash went before that would be run again.
local function is_recorded(P, id, job_type, durable)
  return not durable or redis.call('ZSCORE', P .. ':fleet:ended:failed:' .. job_type, id)
    or redis.call('XLEN', P .. ':fleet:ledger') == 0
end
