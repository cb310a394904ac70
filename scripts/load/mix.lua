-- The load of `make test-load`, for wrk (https://github.com/wg/wrk/blob/master/SCRIPTING): all
-- operations, on a thousand ids of which about half have a user at any time. A response that the
-- contract does not allow is an error, and makes wrk exit with status 1.

local IDS, ADDRESSES = 1000, 50
-- How many of a thousand requests are of each operation. One of 2,000 is DELETE /users.
local MIX = {
	{ 400, "GET /users/{id}" }, { 200, "PUT /users/{id}" }, { 130, "POST /users" },
	{ 100, "DELETE /users/{id}" }, { 100, "GET /users?email=" }, { 70, "GET /users?limit=" },
}
-- The same for all operations: wrk does not tell a script which request a response belongs to.
local EXPECTED = { ["200"] = true, ["400 UserNotFound"] = true, ["400 UserAlreadyExists"] = true }

local threads = {}

function setup(thread)
	table.insert(threads, thread)
end

function init()
	math.randomseed(1)
	sent, seen = "", ""
	operations, outcomes = {}, {}
end

local function count(counts, name)
	counts[name] = (counts[name] or 0) + 1
end

local function choose()
	if math.random(2000) == 1 then
		return "DELETE /users"
	end
	local ticket = math.random(1000)
	for _, entry in ipairs(MIX) do
		ticket = ticket - entry[1]
		if ticket <= 0 then
			return entry[2]
		end
	end
end

local function address()
	return "load-" .. math.random(ADDRESSES) .. "@example.com"
end

local function body(id)
	return string.format(
		'{"id":"%s","email":"%s","name":"Ada Lovelace","born":1815,"tags":["a","b"],"n":%d}',
		id, address(), math.random(1000000)
	)
end

function request()
	local operation = choose()
	count(operations, operation)
	local method, path = operation:match("(%u+) (.*)")
	local id, text = "load-" .. math.random(IDS), nil
	if path == "/users?email=" then
		path = path .. address() .. "&limit=10"
	elseif path == "/users?limit=" then
		path = path .. "20"
	end
	if method == "POST" or method == "PUT" then
		text = body(id)
	end
	path = wrk.path .. path:gsub("{id}", id)
	return wrk.format(method, path, nil, text)
end

function response(status, _, text)
	local code = status == 200 and "" or " " .. (text:match('"code":"(%w+)"') or "?")
	count(outcomes, status .. code)
end

local function sum(name)
	local total = {}
	for _, thread in ipairs(threads) do
		for key, value in pairs(thread:get(name)) do
			total[key] = (total[key] or 0) + value
		end
	end
	return total
end

local function print_counts(title, counts)
	print("\n" .. title)
	local keys = {}
	for key in pairs(counts) do
		table.insert(keys, key)
	end
	table.sort(keys)
	for _, key in ipairs(keys) do
		print(string.format("  %-22s %8d", key, counts[key]))
	end
end

local function print_histogram(latency)
	-- Each row ends at twice the latency of the row before. The first ends at half a millisecond.
	local rows, most = {}, 0
	for i = 1, #latency do
		local microseconds, responses = latency(i)
		local row = math.max(0, math.ceil(math.log(microseconds / 500) / math.log(2)))
		rows[row] = (rows[row] or 0) + tonumber(responses)
		most = math.max(most, rows[row])
	end
	print("\nResponses by latency")
	for row = 0, 20 do
		if rows[row] then
			local bar = string.rep("#", math.ceil(50 * rows[row] / most))
			print(string.format("  up to %7.1f ms %8d %s", 0.5 * 2 ^ row, rows[row], bar))
		end
	end
end

function done(summary, latency, _)
	local seconds = summary.duration / 1e6
	print(string.format("\n%d responses in %.1f s: %.0f a second",
		summary.requests, seconds, summary.requests / seconds))
	local percentiles = {}
	for _, percentile in ipairs({ 50, 90, 99, 99.9 }) do
		table.insert(percentiles,
			string.format("p%g %.1f ms", percentile, latency:percentile(percentile) / 1e3))
	end
	print(table.concat(percentiles, ", ") .. string.format(", max %.1f ms", latency.max / 1e3))
	print_histogram(latency)
	print_counts("Requests", sum("operations"))
	local outcomes = sum("outcomes")
	print_counts("Responses", outcomes)

	local errors = 0
	for outcome, number in pairs(outcomes) do
		if not EXPECTED[outcome] then
			errors = errors + number
		end
	end
	for _, kind in ipairs({ "connect", "read", "write", "timeout" }) do
		errors = errors + summary.errors[kind]
	end
	print(string.format("\nErrors: %d", errors))
	if errors > 0 or summary.requests == 0 then
		os.exit(1)
	end
end
