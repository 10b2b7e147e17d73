-- take: reads a request to be sent, and counts how often it was.
-- KEYS[1] the requests; ARGV id
-- Returns {request, times sent with this one}; {''} when there is none.
local text = redis.call('HGET', KEYS[1], ARGV[1])
if not text then
  return {''}
end
return {text, tostring(redis.call('HINCRBY', KEYS[1], 'n:' .. ARGV[1], 1))}
