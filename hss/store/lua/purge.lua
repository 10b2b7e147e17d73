-- purge: marks the registrations of a node as purged.
-- KEYS[1] the record, KEYS[2] its PDN-GWs, KEYS[3] the node's requests that were worked on; ARGV Origin-Host in lower case, name
-- of the node's request or '', sides that it has purged
-- Returns {'1' if it was the registered MME else '0', the same for the SGSN}; {} for an unknown SIM.
local r = read(KEYS[1])
if not r then
  return {}
end
local asked, done = {}, {}
for i = 3, #ARGV do
  asked[ARGV[i]] = true
end
for i, side in ipairs({'mme', 'sgsn'}) do
  done[i] = '0'
  local now = asked[side] and holder(r[side])
  if now == ARGV[1] or now == ARGV[1] .. '!' then
    local g = cjson.decode(r[side])
    g[g.h and 'x' or 'purged'] = true
    r[side] = cjson.encode(g)
    write(KEYS[1], r)
    free(r, KEYS[2])
    done[i] = '1'
  end
end
if ARGV[2] ~= '' then
  remember(KEYS[3], ARGV[2] .. ' ' .. done[1] .. done[2])
end
return done
