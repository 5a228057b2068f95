//! The page for people, as it was built into this program: `web-demo/dist`.

use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};

/// What `npm run build` in `web-demo` made, if it was there when this program was built.
#[derive(rust_embed::Embed)]
#[folder = "web-demo/dist"]
#[allow_missing = true]
struct Built;

/// Where the page's files have names that change with what is in them: browsers may keep those for ever.
const HASHED: &str = "assets/";
/// What the page may load and reach: this gateway alone.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const NOTHING: &str = "there is no such page\n";
/// What is said at `/` and at `/inspect` by a program that was built without them.
const MISSING: &str = "This gateway runs, and clients connect at /v1. The page was not built into it: `make build` does that, \
     and needs Node.js and npm.\n";

/// The page for operators.
pub async fn inspect() -> Response {
    file("inspect.html")
}

/// A file of the page; `/` is the page itself. That for operators is not for everybody.
pub async fn serve(uri: Uri) -> Response {
    match uri.path().trim_start_matches('/') {
        "" => file("index.html"),
        "inspect.html" => (StatusCode::NOT_FOUND, NOTHING).into_response(),
        path => file(path),
    }
}

fn file(path: &str) -> Response {
    let Some(file) = Built::get(path) else {
        let why = if path.ends_with(".html") { MISSING } else { NOTHING };
        return (StatusCode::NOT_FOUND, why).into_response();
    };
    let kind = HeaderValue::from_str(file.metadata.mimetype()).expect("types are ASCII");
    let keep = if path.starts_with(HASHED) { "public, max-age=31536000, immutable" } else { "no-cache" };
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, HeaderValue::from_static(keep)),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ];
    (headers, file.data).into_response()
}
