-- Ids of events are "ms-number" of one clock of the whole fleet. As with XADD none is smaller than the last, though Redis' own clock
-- went back. A call takes numbers ahead: those of one that breaks off are not given again.
local EVENTS = {kept = '3600', as_it_is = 'as it is', most = 1000, slack = 100, numbers = 1000, slice = 2000, start = ' job:started '}
local event_clock, digits = {left = 0}, {[0] = '0', '1', '2', '3', '4', '5', '6', '7', '8', '9'}

local function take_numbers(key)
  local time, last = redis.call('TIME'), redis.pcall('GET', key)
  local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
  local ms, number = (type(last) == 'string' and last or ''):match('^(%d+)%-(%d+)$')
  if ms and tonumber(ms) >= now then
    now, event_clock.number = tonumber(ms), tonumber(number)
  else
    event_clock.number = -1
  end
  event_clock.ms, event_clock.left, event_clock.begin = string.format('%.0f-', now), EVENTS.numbers, nil
  redis.call('SET', key, event_clock.ms .. string.format('%.0f', event_clock.number + EVENTS.numbers))
end

-- The next id, in two parts: a text that is made for every event costs.
local function next_event_id(prefix)
  if event_clock.left == 0 then
    take_numbers(prefix .. ':fleet:event-clock')
  end
  local number = event_clock.number + 1
  event_clock.number, event_clock.left = number, event_clock.left - 1
  -- Redis writes numbers out slowly: all but the last digit is written once in ten times.
  local digit = number % 10
  if digit == 0 or not event_clock.begin then
    event_clock.begin = event_clock.ms .. (number > 9 and string.format('%.0f', (number - digit) / 10) or '')
  end
  return event_clock.begin, digits[digit]
end
