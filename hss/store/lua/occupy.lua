-- occupy: gives an address to a SIM.
-- KEYS[1] the bucket; ARGV address, IMSI, what is to be written, what may be replaced though it is another SIM's
-- Returns {''}, or {what another SIM has written}.
local old = redis.call('HGET', KEYS[1], ARGV[1])
if old and old ~= ARGV[4] and string.match(old, '^%d*') ~= ARGV[2] then
  return {old}
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return {''}
