-- request: keeps what a node is to be told; a CLR takes its registration away at the same time.
-- KEYS[1] the record, KEYS[2] its requests; ARGV id, request, side of a CLR or '', Origin-Host in lower case
-- Returns {'done'}; {'waiting'} when it is there already; {'elsewhere'} when the registration is another node's by now.
if ARGV[3] ~= '' then
  local text = redis.call('HGET', KEYS[1], ARGV[3])
  if text then
    if string.lower(cjson.decode(text).host) ~= ARGV[4] then
      return {'elsewhere'}
    end
    redis.call('HDEL', KEYS[1], ARGV[3])
  end
end
if redis.call('HSETNX', KEYS[2], ARGV[1], ARGV[2]) == 0 then
  return {'waiting'}
end
return {'done'}
