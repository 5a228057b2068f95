//! The page for people, as it was built into this program: `web-demo/dist`.

use axum::http::header::HeaderName;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
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

/// What a file packed by gzip is called beside it, as `npm run build` has left it.
const PACKED: &str = ".gz";

/// The page for operators.
pub async fn inspect(asked: HeaderMap) -> Response {
    file("inspect.html", &asked)
}

/// A file of the page; `/` is the page itself. That for operators is not for everybody.
pub async fn serve(uri: Uri, asked: HeaderMap) -> Response {
    match uri.path().trim_start_matches('/') {
        "" => file("index.html", &asked),
        path if path.starts_with("inspect.html") || path.ends_with(PACKED) => {
            (StatusCode::NOT_FOUND, NOTHING).into_response()
        }
        path => file(path, &asked),
    }
}

fn file(path: &str, asked: &HeaderMap) -> Response {
    let Some(plain) = Built::get(path) else {
        let why = if ["index.html", "inspect.html"].contains(&path) { MISSING } else { NOTHING };
        return (StatusCode::NOT_FOUND, why).into_response();
    };
    let keep = if path.starts_with(HASHED) { "public, max-age=31536000, immutable" } else { "no-cache" };
    let packed = takes_gzip(asked).then(|| Built::get(&format!("{path}{PACKED}"))).flatten();
    // Another tag for another form of the same: RFC 9110, 8.8.3.
    let form = if packed.is_some() { "z" } else { "" };
    let tag: String = plain.metadata.sha256_hash()[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    let tag = format!("\"{tag}{form}\"");
    let value = |text: &str| HeaderValue::from_str(text).expect("types and tags are ASCII");
    let mut headers = HeaderMap::from_iter([
        (header::CACHE_CONTROL, HeaderValue::from_static(keep)),
        (header::ETAG, value(&tag)),
        (header::VARY, HeaderValue::from_static("accept-encoding")),
    ]);
    if says(asked, &header::IF_NONE_MATCH).any(|known| known.trim_start_matches("W/") == tag) {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    if packed.is_some() {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    headers.extend([
        (header::CONTENT_TYPE, value(plain.metadata.mimetype())),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ]);
    (headers, packed.unwrap_or(plain).data).into_response()
}

/// The items of a header that is a list.
fn says<'a>(asked: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let lists = asked.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    lists.flat_map(|list| list.split(',')).map(str::trim)
}

/// Whoever gives it a weight takes it for less than the best there is, or not at all: then the file goes as it is.
fn takes_gzip(asked: &HeaderMap) -> bool {
    says(asked, &header::ACCEPT_ENCODING).any(|coding| coding == "gzip")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_goes_to_who_takes_it() {
        for (said, takes) in [
            ("gzip, deflate, br", true),
            ("br,gzip", true),
            ("", false),
            ("br", false),
            ("gzip;q=0", false),
            ("x-gzip", false),
        ] {
            let asked = HeaderMap::from_iter([(header::ACCEPT_ENCODING, HeaderValue::from_static(said))]);
            assert_eq!(takes_gzip(&asked), takes, "{said}");
        }
    }
}
