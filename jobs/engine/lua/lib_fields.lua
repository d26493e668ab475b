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

-- What the worker is told of a run: the first fields, the run, and what else there is. The table is the one of the fields,
-- since a new one would have to grow.
local function told(key, fields, id, execution, queue, lane, is_batched)
  fields[TOLD + 1], fields[TOLD + 2], fields[TOLD + 3], fields[TOLD + 4] = id, execution, queue, lane
  fields[TOLD + 5] = is_batched and 1 or 0
  if fields.more then
    for n = 1, TOLD_MORE do
      fields[#FIELDS + n] = fields.more[n]
    end
    prepare_foreign_run(key, fields, #FIELDS + TOLD_MORE)
  end
  return fields
end
