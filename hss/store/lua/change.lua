-- change: puts a profile in the place of another.
-- KEYS[1] the record; ARGV revision of the profile that was read, profile
-- Returns {registration of the MME or '', of the SGSN or ''}; {} for an unknown SIM; {'changed'} when the profile is
-- another by now.
local r = redis.call('HMGET', KEYS[1], 'rev', 'mme', 'sgsn')
if not r[1] then
  return {}
end
if r[1] ~= ARGV[1] then
  return {'changed'}
end
redis.call('HSET', KEYS[1], 'rev', string.format('%.0f', tonumber(r[1]) + 1), 'profile', ARGV[2])
return {r[2] or '', r[3] or ''}
