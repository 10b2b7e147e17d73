-- reseal: puts sealed keys in the place of those that were read.
-- KEYS[1] the record; ARGV sealed keys as read, sealed keys
-- Returns 1, or 0 when the record is another by now.
if redis.call('HGET', KEYS[1], 'key') ~= ARGV[1] then
  return 0
end
redis.call('HSET', KEYS[1], 'key', ARGV[2])
return 1
