//! The account and its user, as the clients look for them before they come to keys.

use http::Response;
use serde::Serialize;
use serde_json::json;

use super::{
    envelope::{self, Note},
    failure::Failure,
    numbers::Pages,
    route::LOCAL,
};
use crate::{http::Body, kv::query::Query};

/// The name of the account for people.
const NAME: &str = "Waypost";

/// The position in a list that has numbered pages.
#[derive(Debug, Serialize)]
pub(super) struct PageInfo {
    /// The number of the page.
    pub(super) page: usize,
    /// How many items a page has.
    pub(super) per_page: usize,
    /// How many items this page has.
    pub(super) count: usize,
    /// How many items there are.
    pub(super) total_count: usize,
    /// How many pages there are.
    pub(super) total_pages: usize,
}

impl PageInfo {
    /// The position of a page with `count` of `total` items.
    pub(super) fn new(pages: Pages, count: usize, total: usize) -> PageInfo {
        let Pages { page, per_page } = pages;
        let total_pages = total.div_ceil(per_page);
        PageInfo { page, per_page, count, total_count: total, total_pages }
    }
}

/// The account as JSON.
fn account_json() -> serde_json::Value {
    json!({
        "id": LOCAL,
        "name": NAME,
        "type": "standard",
        "settings": {"enforce_twofactor": false},
    })
}

/// `GET /accounts/{account}`.
pub(super) fn account() -> Response<Body> {
    envelope::success(account_json())
}

/// `GET /accounts`.
pub(super) fn accounts(query: Query<'_>) -> Result<Response<Body>, Failure> {
    one(query, account_json())
}

/// `GET /memberships`.
pub(super) fn memberships(query: Query<'_>) -> Result<Response<Body>, Failure> {
    let membership = json!({
        "id": LOCAL,
        "status": "accepted",
        "account": account_json(),
        "roles": [],
        "policies": [],
        "permissions": {},
    });
    one(query, membership)
}

/// A list of one item. The clients ask for pages until one is empty.
fn one(query: Query<'_>, item: serde_json::Value) -> Result<Response<Body>, Failure> {
    let pages = Pages::of(query)?;
    let items = if pages.page == 1 { vec![item] } else { vec![] };
    let info = PageInfo::new(pages, items.len(), 1);
    Ok(envelope::page(items, info))
}

/// `GET /user`.
pub(super) fn user() -> Response<Body> {
    envelope::success(json!({
        "id": LOCAL,
        "email": "local@waypost.invalid",
        "first_name": null,
        "last_name": null,
        "username": LOCAL,
        "telephone": null,
        "country": null,
        "zipcode": null,
        "suspended": false,
        "two_factor_authentication_enabled": false,
        "two_factor_authentication_locked": false,
        "has_pro_zones": false,
        "has_business_zones": false,
        "has_enterprise_zones": false,
        "organizations": [],
    }))
}

/// `GET /user/tokens/verify`.
pub(super) fn verify_token() -> Response<Body> {
    let message = "This API Token is valid and active".to_owned();
    let result = json!({"id": LOCAL, "status": "active"});
    envelope::noted(result, vec![Note { code: 10000, message }])
}
