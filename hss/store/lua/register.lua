-- register: puts a registration in the place of another.
-- KEYS[1] the record; ARGV side (mme or sgsn), revision of the profile by which it was allowed, registration
-- Returns {registration before, or ''}; {} for an unknown SIM; {'', 'changed'} when the profile is another by now.
local r = redis.call('HMGET', KEYS[1], 'rev', ARGV[1])
if not r[1] then
  return {}
end
if r[1] ~= ARGV[2] then
  return {'', 'changed'}
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return {r[2] or ''}
