-- Epoch seconds of RFC 3339 in UTC, or nothing. The calendar: Howard Hinnant, chrono-compatible low-level date algorithms,
-- days_from_civil.
local function epoch_of(text)
  local year, month, day, hour, minute, second = (text or ''):match('^(%d+)-(%d+)-(%d+)T(%d+):(%d+):([%d.]+)')
  if not tonumber(second) then
    return nil
  end
  month = tonumber(month)
  year = tonumber(year) - (month <= 2 and 1 or 0)
  local era = math.floor(year / 400)
  local of_era = year - era * 400
  local of_year = math.floor((153 * (month + (month > 2 and -3 or 9)) + 2) / 5) + day - 1
  local days = era * 146097 + of_era * 365 + math.floor(of_era / 4) - math.floor(of_era / 100) + of_year - 719468
  return string.format('%.6f', days * 86400 + hour * 3600 + minute * 60 + second)
end
