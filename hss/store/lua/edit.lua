-- edit: puts a registration in the place of the same as it was read.
-- KEYS[1] the record; ARGV side, registration as read, registration
-- Returns {'done'}; {'changed'} when it is another by now.
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then
  return {'changed'}
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return {'done'}
