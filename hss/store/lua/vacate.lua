-- vacate: takes an address from a SIM, if what is written is what was read.
-- KEYS[1] the bucket; ARGV address, what was read
-- Returns {'1'}, or {'0'} when it is another by now.
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then
  return {'0'}
end
redis.call('HDEL', KEYS[1], ARGV[1])
return {'1'}
