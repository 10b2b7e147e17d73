-- finish: forgets a request, if it is still the one that was sent: a later one of the same name stays.
-- KEYS[1] the requests; ARGV id, session of the request, '' to forget none
-- Returns {'1'} when there is a request of that name then, else {'0'}.
local text = redis.call('HGET', KEYS[1], ARGV[1])
if text and ARGV[2] ~= '' and cjson.decode(text).session == ARGV[2] then
  redis.call('HDEL', KEYS[1], ARGV[1], 'n:' .. ARGV[1])
  text = false
end
return {text and '1' or '0'}
