-- Removes a stored response, if it is still the one that has the token.
--
-- KEYS  the primary key · the key of the variant that it was
-- ARGV  its token · the grace in ms for bodies that are let go
local home, kind, prefix = home_of(KEYS[1], KEYS[2], ARGV[1])
if not home then
  return 0
end
let_go(KEYS[1], kind, prefix, ARGV[2])
forget(KEYS[1], home)
return 1
