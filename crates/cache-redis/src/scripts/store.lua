-- Stores a response where lookups find it, if nothing forbids it: 1, or 0.
--
-- KEYS  the primary key · the variant's key · the key of the variant that the stored response was
-- ARGV  the value · its TTL in ms, 0: none · a generation for a new rule · the grace in ms for bodies
--       that are let go · freshening: the token of the stored response, otherwise nothing · how many
--       frames its body has, where it stands elsewhere
local primary = KEYS[1]
local value, ttl, new_generation, grace, wanted, frames =
  ARGV[1], tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4]), ARGV[5], tonumber(ARGV[6])
local asked, selector = asked_at(value), selector_of(value)
local MAX_SELECTORS = 8

local home
if wanted ~= '' then
  home = home_of(primary, KEYS[3], wanted)
  if not home then
    return 0
  end
end
if asked < invalidated_at(primary) then
  return 0
end

local kind, prefix, selectors = read(primary)
local target = primary
local is_another = is_response(kind) and home ~= primary
  and (variant(prefix) ~= variant(value) or selectors ~= selector)
if kind == RULE or is_another then
  target = KEYS[2]
end
local old_kind, old = read(target)
local is_current = target == primary or kind == RULE and old and generation(old) == generation(prefix)
if home ~= target and is_response(old_kind) and is_current and asked_at(old) > asked then
  return 0
end
local body
if string.byte(value, 6) == ELSEWHERE then
  body = body_key(primary, value)
  if redis.pcall('HLEN', body) ~= frames then
    return 0
  end
end

local function set(key, bytes, milliseconds)
  if milliseconds == 0 then
    redis.call('SET', key, bytes)
  else
    redis.call('SET', key, bytes, 'PX', milliseconds)
  end
end

-- What needs memory comes first: where there is none, nothing has changed.
local left = kind and redis.call('PTTL', primary) or -2
set(target, value, ttl)
if is_response(old_kind) and token(old) ~= token(value) then
  let_go(primary, old_kind, old, grace)
end
if kind ~= RULE then
  redis.pcall('SREM', primary .. ':i', target, body or target)
  sweep(primary, grace)
end
if body then
  if ttl == 0 then
    redis.call('PERSIST', body)
    remember(primary, body)
  else
    redis.call('PEXPIRE', body, ttl + grace)
  end
end
if home and home ~= target then
  forget(primary, home)
end
if target == primary then
  return 1
end

local current = new_generation
if kind == RULE then
  current = generation(prefix)
else
  -- The only one becomes one of several.
  local other = variant_key(primary, prefix, selectors)
  redis.call('RENAME', primary, other)
  redis.call('SETRANGE', other, 40, current)
  selectors = selectors .. '\n'
  if left == -1 then
    remember(primary, other)
    if kind == ELSEWHERE then
      redis.call('PERSIST', body_key(primary, prefix))
      remember(primary, body_key(primary, prefix))
    end
  end
end
redis.call('SETRANGE', target, 40, current)
if ttl == 0 then
  remember(primary, target)
end

local is_new = not string.find('\n' .. selectors, '\n' .. selector .. '\n', 1, true)
if is_new then
  selectors = selectors .. selector .. '\n'
  local _, lines = string.gsub(selectors, '\n', '')
  if lines > MAX_SELECTORS then
    selectors = string.sub(selectors, string.find(selectors, '\n', 1, true) + 1)
  end
end
-- The rule lives as long as its longest variant, and a little longer.
local lasts = 0
if ttl > 0 and left ~= -1 then
  lasts = math.max(ttl, left + 1)
end
if is_new or kind ~= RULE then
  local zero = string.rep('\0', 16)
  local rule = 'httc\2' .. string.char(RULE) .. string.rep('\0', 34) .. current
    .. struct.pack('<I4', #selectors) .. zero
  set(primary, rule .. check(rule .. zero .. selectors) .. zero .. selectors, lasts)
elseif left ~= -1 and lasts == 0 then
  redis.call('PERSIST', primary)
elseif left ~= -1 and ttl >= left then
  redis.call('PEXPIRE', primary, lasts)
end
return 1
