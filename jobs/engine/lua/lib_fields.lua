-- Part of lease.lua: the fields of a job's hash, by their places in FIELDS; those in MORE have names.
-- What the worker is told of every job, and what this script needs to know of it; then what only a job has that was leased
-- before, or is a plain RQ client's: of that too the worker is told the first six.
local FIELDS = {'data', 'type', 'tenant', 'timeout', 'deadline', 'attempts', 'topics', 'correlation_id', 'unique_key',
  'success_callback_name', 'failure_callback_name', 'stopped_callback_name', 'webhooks', 'gates', 'enqueued_at',
  'status', 'lane', 'ledger', 'final', 'filed'}
local MORE = {'deaths', 'cancel_requested', 'retries_left', 'retry_intervals', 'result_ttl', 'failure_ttl', 'execution',
  'ended_at', 'worker_deaths', 'given_back'}
local TOLD, TOLD_MORE = 15, 6

local function read_fields(key)
  local fields = redis.pcall('HMGET', key, unpack(FIELDS))
  if not fields.err and (fields[6] or fields[19] or (fields[2] or '') == '') then
    local more = redis.call('HMGET', key, unpack(MORE))
    fields.deaths, fields.execution, fields.ended_at, fields.worker_deaths, fields.given_back = more[1], unpack(more, 7, 10)
    fields.more = more
  end
  return fields
end

-- The fields that the worker is told.
local function told(key, fields)
  for n = #FIELDS, TOLD + 1, -1 do
    fields[n] = nil
  end
  if fields.more then
    for n = 1, TOLD_MORE do
      fields[TOLD + n] = fields.more[n]
    end
    prepare_foreign_run(key, fields, TOLD + TOLD_MORE)
  end
  return fields
end
