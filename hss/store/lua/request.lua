-- request: keeps what a node is to be told; a CLR takes its registration away at the same time.
-- KEYS[1] the record, KEYS[2] its requests, KEYS[3] its PDN-GWs; ARGV id, request, side of a CLR or '', Origin-Host in lower case
-- Returns {'done'}; {'waiting'} when it is there already; {'elsewhere'} when the registration is another node's by now.
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
if redis.call('HSETNX', KEYS[2], ARGV[1], ARGV[2]) == 0 then
  return {'waiting'}
end
return {'done'}
