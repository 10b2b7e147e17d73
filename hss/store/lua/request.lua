-- request: keeps what a node is to be told; a CLR takes its registration away at the same time.
-- KEYS[1] the record, KEYS[2] its requests, KEYS[3] its PDN-GWs; ARGV id, request, side of a CLR or '', Origin-Host in lower case
-- Returns {'done'}; {'waiting'} when it is there already; {'elsewhere'} when the registration is another node's by now.
-- What was sent, and is not answered yet, may have been read before the change that this request is of: unless it is of the
-- same, it is sent anew, as another message, since a node answers a repetition of one that it has had without a look.
local r = ARGV[3] ~= '' and read(KEYS[1])
if r and r[ARGV[3]] ~= '' then
  local now = holder(r[ARGV[3]])
  if now ~= ARGV[4] and now ~= ARGV[4] .. '!' then
    return {'elsewhere'}
  end
  r[ARGV[3]] = ''
  write(KEYS[1], r)
  free(r, KEYS[3])
end
local before, tries = redis.call('HGET', KEYS[2], ARGV[1]), 'n:' .. ARGV[1]
if before then
  local sent = ARGV[3] == '' and redis.call('HEXISTS', KEYS[2], tries) == 1
  if not sent or cjson.decode(before).of == cjson.decode(ARGV[2]).of then
    return {'waiting'}
  end
  redis.call('HDEL', KEYS[2], tries)
end
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
return {'done'}
