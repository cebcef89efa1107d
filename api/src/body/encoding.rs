//! How a body is compressed, by its header.

use std::fmt;

use http::{HeaderMap, HeaderValue, StatusCode, header};

use crate::problem::ApiError;

/// A way of compressing that we know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Encoding {
    Gzip,
    /// In the form of zlib, as it should be, or without, as some send it.
    Deflate,
    Brotli,
    Zstd,
}

/// What a client may use, as `Accept-Encoding` in an answer says it.
const KNOWN: &str = "gzip, deflate, br, zstd";

impl Encoding {
    /// The encoding that the headers name; `None` when it is as it was.
    ///
    /// # Errors
    /// 415: one that is not known, or more than one.
    pub(super) fn of(headers: &HeaderMap) -> Result<Option<Self>, ApiError> {
        let mut found = None;
        for value in headers.get_all(header::CONTENT_ENCODING) {
            let names = value.to_str().map_err(|_| unsupported())?;
            for name in names.split(',') {
                let name = name.trim();
                let encoding = match name.to_ascii_lowercase().as_str() {
                    "" | "identity" | "none" => continue,
                    "gzip" | "x-gzip" => Self::Gzip,
                    "deflate" => Self::Deflate,
                    "br" => Self::Brotli,
                    "zstd" => Self::Zstd,
                    _ => return Err(unsupported()),
                };
                if found.replace(encoding).is_some() {
                    return Err(unsupported());
                }
            }
        }
        Ok(found)
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
        })
    }
}

fn unsupported() -> ApiError {
    ApiError::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "unsupported_encoding",
        format!("a body's Content-Encoding is one of {KNOWN}, or none"),
    )
    .with_header(header::ACCEPT_ENCODING, HeaderValue::from_static(KNOWN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(values: &[&'static str], expect: Result<Option<Encoding>, u16>) {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::CONTENT_ENCODING, HeaderValue::from_static(value));
        }
        let found = Encoding::of(&headers).map_err(|error| error.status().as_u16());
        assert_eq!(found, expect, "{values:?}");
    }

    #[test]
    fn one_encoding_or_none() {
        check(&[], Ok(None));
        check(&["identity"], Ok(None));
        check(&["none", ""], Ok(None));
        check(&["gzip"], Ok(Some(Encoding::Gzip)));
        check(&["GZip, identity"], Ok(Some(Encoding::Gzip)));
        check(&["deflate"], Ok(Some(Encoding::Deflate)));
        check(&["br"], Ok(Some(Encoding::Brotli)));
        check(&["zstd"], Ok(Some(Encoding::Zstd)));
        check(&["gzip, gzip"], Err(415));
        check(&["gzip", "br"], Err(415));
        check(&["compress"], Err(415));
    }
}
