-- add: puts a new SIM in.
-- KEYS[1] the record; ARGV profile, sealed keys, last SEQ given out, time in clock units
-- Returns 1, or 0 when the SIM is there already.
if redis.call('EXISTS', KEYS[1]) == 1 then
  return 0
end
redis.call('HSET', KEYS[1], 'v', '1', 'rev', '1', 'profile', ARGV[1], 'key', ARGV[2],
  'seq', ARGV[3], 'seq0', ARGV[3], 't0', ARGV[4])
return 1
