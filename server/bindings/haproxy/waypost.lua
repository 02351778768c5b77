-- Asks Waypost whether a request may proceed: `http-request lua.waypost URL`. Sets txn.waypost_status to the
-- status of the response, or to 0 without one, and txn.waypost_retry_after.

local function ask(txn, url)
    -- Send no other headers of the client: some have a meaning to Waypost, such as Waypost-Namespace.
    local headers = { ["x-forwarded-for"] = { txn.f:src() } }
    -- For key_header=x-api-key in place of trusted_proxies=1.
    local key = txn.f:req_fhdr("x-api-key")
    if key then
        headers["x-api-key"] = { key }
    end
    local response = core.httpclient():get({ url = url, headers = headers, timeout = 1000 })
    txn:set_var("txn.waypost_status", response and response.status or 0)
    local after = response and response.headers and response.headers["retry-after"]
    if after then
        txn:set_var("txn.waypost_retry_after", after[0])
    end
end

core.register_action("waypost", { "http-req" }, ask, 1)
