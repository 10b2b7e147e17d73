-- reseal: puts sealed keys in the place of those that were read.
-- KEYS[1] the record; ARGV sealed keys as read, sealed keys
-- Returns 1, or 0 when the record is another by now.
local r = read(KEYS[1])
if not r or r.key ~= ARGV[1] then
  return 0
end
r.key = ARGV[2]
write(KEYS[1], r)
return 1
