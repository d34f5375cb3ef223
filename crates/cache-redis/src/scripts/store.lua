-- Stores a response where lookups find it, if nothing forbids it: 1, or 0.
--
-- KEYS  the primary key · the variant's key · the key of the variant that nothing selects · the key
--       of the variant that the stored response was
-- ARGV  the value · its TTL in ms, 0: none · its selector · a generation for a new rule ·
--       the grace in ms for bodies that are let go · freshening: the token of the stored response,
--       otherwise nothing · how long its body is, where it stands elsewhere
local primary, variant, unselected = KEYS[1], KEYS[2], KEYS[3]
local value, ttl, selector, new_generation, grace, wanted, framed =
  ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4], tonumber(ARGV[5]), ARGV[6], tonumber(ARGV[7])
local asked = asked_at(value)
local MAX_SELECTORS = 8

local home
if wanted ~= '' then
  home = home_of(primary, KEYS[4], wanted)
  if not home then
    return 0
  end
end
if asked < invalidated_at(primary) then
  return 0
end

local kind, prefix, selectors = read(primary)
local target = primary
if kind == RULE or selector ~= '' then
  target = variant
end
local old_kind, old = read(target)
local is_current = target == primary or kind == RULE and old and generation(old) == generation(prefix)
if home ~= target and is_response(old_kind) and is_current and asked_at(old) > asked then
  return 0
end
local body
if string.byte(value, 6) == ELSEWHERE then
  body = body_key(primary, value)
  if redis.pcall('STRLEN', body) ~= framed then
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
  if home == primary then
    kind, left = nil, -2
  end
end
if target == primary then
  return 1
end

local current = new_generation
if kind == RULE then
  current = generation(prefix)
else
  selectors = ''
  if is_response(kind) then
    -- It becomes one of several.
    redis.call('RENAME', primary, unselected)
    redis.call('SETRANGE', unselected, 40, current)
    selectors = '\n'
    if left == -1 then
      remember(primary, unselected)
      if kind == ELSEWHERE then
        redis.call('PERSIST', body_key(primary, prefix))
        remember(primary, body_key(primary, prefix))
      end
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
  local rule = 'httc\1' .. string.char(RULE) .. string.rep('\0', 34) .. current
    .. struct.pack('<I4', #selectors) .. string.rep('\0', 16)
  set(primary, rule .. check(rule .. selectors) .. selectors, lasts)
elseif left ~= -1 and lasts == 0 then
  redis.call('PERSIST', primary)
elseif left ~= -1 and ttl >= left then
  redis.call('PEXPIRE', primary, lasts)
end
return 1
