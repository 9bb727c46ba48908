-- What one key has used, counted for all proxies at once: takes in what a proxy has to tell, and, if asked,
-- lets one call in or says which limit it does not fit into. inference.limits.refused_by is the same in Python.
--
-- KEYS  used (hash: requests, tokens, at), busy (hash: proxy -> "calls expiry"), spent (nano-dollars)
-- ARGV  1 now in seconds (empty: this server's clock, the one clock that all proxies share)
--       2 requests a minute, 3 tokens a minute, 4 concurrent, 5 budget; empty: no such limit
--       6 tokens that the call may come to; empty: nobody asks to be let in
--       7 the proxy, 8 its calls in flight without this one
--       9 tokens to add (or, negative, to give back), 10 nano-dollars to add
--       11 nano-dollars that are known to have been spent before those
-- Returns the limit that refuses (empty: none), the seconds to wait, and the counts after it all.

local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] + time[2] / 1000000
end
local requests_limit, tokens_limit = tonumber(ARGV[2]), tonumber(ARGV[3])
local concurrent_limit, budget = tonumber(ARGV[4]), tonumber(ARGV[5])
local asked, proxy, mine = tonumber(ARGV[6]), ARGV[7], tonumber(ARGV[8])
local PROXY_SECONDS, MONTH_SECONDS = 15, 40 * 86400

local stored = redis.call('HMGET', KEYS[1], 'requests', 'tokens', 'at')
local at = tonumber(stored[3]) or now
local passed = math.max(0, now - at)
local function level(used, limit)
  return limit and math.max(0, (tonumber(used) or 0) - passed * limit / 60) or 0
end
local requests = level(stored[1], requests_limit)
local tokens = math.max(0, level(stored[2], tokens_limit) + (tokens_limit and tonumber(ARGV[9]) or 0))

local before = tonumber(redis.call('GET', KEYS[3]) or 0)
local spent = math.max(before, tonumber(ARGV[11])) + tonumber(ARGV[10])

local others = 0
if concurrent_limit then
  local found = redis.call('HGETALL', KEYS[2])
  for i = 1, #found, 2 do
    local calls, expiry = string.match(found[i + 1], '(%S+) (%S+)')
    if tonumber(expiry) <= now then
      redis.call('HDEL', KEYS[2], found[i])
    elseif found[i] ~= proxy then
      others = others + tonumber(calls)
    end
  end
end

local function wait(used, limit, amount)
  local over = limit and used + math.min(amount, limit) - limit or 0
  return over > 0.000001 and over * 60 / limit or 0
end
local refused, seconds = '', 0
if asked then
  local for_request, for_tokens = wait(requests, requests_limit, 1), wait(tokens, tokens_limit, asked)
  if budget and spent >= budget then
    refused = 'budget'
  elseif concurrent_limit and others + mine >= concurrent_limit then
    refused, seconds = 'concurrent', 1
  elseif for_request > 0 then
    refused, seconds = 'requests', for_request
  elseif for_tokens > 0 then
    refused, seconds = 'tokens', for_tokens
  else
    mine = mine + 1
    requests = requests + (requests_limit and 1 or 0)
    tokens = tokens + (tokens_limit and math.min(asked, tokens_limit) or 0)
  end
end

if requests_limit or tokens_limit then
  local full_again = 0
  if requests_limit then full_again = requests * 60 / requests_limit end
  if tokens_limit then full_again = math.max(full_again, tokens * 60 / tokens_limit) end
  redis.call('HSET', KEYS[1], 'requests', string.format('%.6f', requests),
    'tokens', string.format('%.6f', tokens), 'at', string.format('%.6f', math.max(now, at)))
  redis.call('EXPIRE', KEYS[1], math.ceil(full_again) + 60)
end
if concurrent_limit then
  if mine > 0 then
    redis.call('HSET', KEYS[2], proxy, string.format('%d %.6f', mine, now + PROXY_SECONDS))
    redis.call('EXPIRE', KEYS[2], 2 * PROXY_SECONDS)
  else
    redis.call('HDEL', KEYS[2], proxy)
  end
end
if spent ~= before then
  redis.call('SET', KEYS[3], string.format('%.0f', spent), 'EX', MONTH_SECONDS)
end
return {refused, string.format('%.6f', seconds), string.format('%.6f', requests),
  string.format('%.6f', tokens), string.format('%.0f', others + mine), string.format('%.0f', spent)}
