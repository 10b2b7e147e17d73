-- upgrade: turns a record of version 1 into one of this version.
-- KEYS[1] the record
-- Returns {its octets}, {''} when there is none.
local octets = octetsAt(KEYS[1])
if octets == nil then
  return redis.error_reply('a record of another version')
end
return {octets or ''}
