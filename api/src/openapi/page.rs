//! The description as a page that people read: no script, nothing fetched from anywhere.

use std::fmt::Write as _;

use http::HeaderName;
use http::header::{CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use serde_json::Value;

/// A page of text needs no permission for anything.
pub(super) const HEADERS: [(HeaderName, &str); 3] = [
    (
        CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'",
    ),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (REFERRER_POLICY, "no-referrer"),
];

const STYLE: &str = "\
:root{color-scheme:light dark;--line:#8883;--soft:#8882}\
body{font:16px/1.5 system-ui,sans-serif;margin:0 auto;max-width:60rem;padding:2rem 1rem}\
h1{margin:0}h2{border-bottom:1px solid var(--line);margin:2.5rem 0 1rem;padding-bottom:.3rem}\
details{border:1px solid var(--line);border-radius:.4rem;margin:.5rem 0;padding:0 .8rem}\
summary{cursor:pointer;display:flex;flex-wrap:wrap;gap:.3rem .8rem;padding:.5rem 0}\
code,pre{font:.875rem/1.5 ui-monospace,monospace}\
pre{background:var(--soft);border-radius:.4rem;overflow-x:auto;padding:.6rem}\
table{border-collapse:collapse;margin:.5rem 0 1rem;width:100%}\
th,td{border-bottom:1px solid var(--line);padding:.3rem .5rem;text-align:left;vertical-align:top}\
.method{font-weight:700;min-width:4.5rem}.what{margin-left:auto;opacity:.75}\
.need{font-size:.85rem;opacity:.75}";

/// The page of a description.
pub(super) fn page(description: &Value) -> String {
    let title = text(&description["info"]["title"]);
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <title>{title} API</title><style>{STYLE}</style></head><body>\
         <h1>{title} API</h1><p>{}</p>\
         <p>Errors are <code>application/problem+json</code>. A key comes in \
         <code>X-API-Key</code> or as <code>Authorization: Bearer</code>. \
         For programs: <a href=\"openapi.json\">openapi.json</a>.</p>",
        text(&description["info"]["description"]),
    );
    for (tag, operations) in by_tag(description) {
        let _ = write!(page, "<h2>{}</h2>", escape(&tag));
        for operation in operations {
            operation.write(&mut page);
        }
    }
    page.push_str("<h2>Shapes</h2>");
    let shapes = description["components"]["schemas"].as_object();
    for (name, shape) in shapes.into_iter().flatten() {
        write_shape(&mut page, name, shape);
    }
    page.push_str("</body></html>");
    page
}

struct Operation<'a> {
    method: String,
    path: &'a str,
    value: &'a Value,
}

/// Tags in the order of their first route's path, each with its routes.
fn by_tag(description: &Value) -> Vec<(String, Vec<Operation<'_>>)> {
    let mut tags: Vec<(String, Vec<Operation<'_>>)> = vec![];
    let paths = description["paths"].as_object();
    for (path, item) in paths.into_iter().flatten() {
        for (method, value) in item.as_object().into_iter().flatten() {
            let tag = value["tags"][0].as_str().unwrap_or("other");
            let operation = Operation {
                method: method.to_uppercase(),
                path,
                value,
            };
            match tags.iter_mut().find(|(name, _)| name == tag) {
                Some((_, operations)) => operations.push(operation),
                None => tags.push((tag.to_owned(), vec![operation])),
            }
        }
    }
    tags
}

impl Operation<'_> {
    fn write(&self, page: &mut String) {
        let need = match self.value["security"][0]["key"][0].as_str() {
            Some(scope) => format!("needs a key with <code>{}</code>", escape(scope)),
            None => "needs no key".to_owned(),
        };
        let _ = write!(
            page,
            "<details><summary><span class=\"method\">{}</span><code>{}</code>\
             <span class=\"what\">{}</span></summary><p class=\"need\">{need}</p><p>{}</p>",
            escape(&self.method),
            escape(self.path),
            text(&self.value["summary"]),
            text(&self.value["description"]),
        );
        self.write_parameters(page);
        self.write_body(page);
        self.write_answers(page);
        page.push_str("</details>");
    }

    fn write_parameters(&self, page: &mut String) {
        let Some(parameters) = self.value["parameters"].as_array() else {
            return;
        };
        page.push_str("<table><tr><th>parameter</th><th>in</th><th>meaning</th></tr>");
        for parameter in parameters {
            let _ = write!(
                page,
                "<tr><td><code>{}</code></td><td>{}</td><td>{}</td></tr>",
                text(&parameter["name"]),
                text(&parameter["in"]),
                text(&parameter["description"]),
            );
        }
        page.push_str("</table>");
    }

    fn write_body(&self, page: &mut String) {
        let contents = self.value["requestBody"]["content"].as_object();
        for (kind, content) in contents.into_iter().flatten() {
            let _ = write!(
                page,
                "<p>Body: <code>{}</code> {}</p>",
                escape(kind),
                link(&content["schema"]),
            );
        }
    }

    fn write_answers(&self, page: &mut String) {
        page.push_str("<table><tr><th>status</th><th>meaning</th><th>shape</th></tr>");
        let answers = self.value["responses"].as_object();
        for (status, answer) in answers.into_iter().flatten() {
            let contents = answer["content"].as_object();
            let shapes: Vec<_> = contents
                .into_iter()
                .flatten()
                .map(|(_, content)| link(&content["schema"]))
                .collect();
            let _ = write!(
                page,
                "<tr><td><code>{}</code></td><td>{}</td><td>{}</td></tr>",
                escape(status),
                text(&answer["description"]),
                shapes.join(" "),
            );
        }
        page.push_str("</table>");
    }
}

fn write_shape(page: &mut String, name: &str, shape: &Value) {
    let pretty = serde_json::to_string_pretty(shape).expect("a value is JSON");
    let _ = write!(
        page,
        "<details id=\"{0}\"><summary><code>{0}</code><span class=\"what\">{1}</span></summary>\
         <pre>{2}</pre></details>",
        escape(name),
        text(&shape["description"]),
        escape(&pretty),
    );
}

/// The name of a shape, as a link to it.
fn link(schema: &Value) -> String {
    let reference = schema["$ref"].as_str().unwrap_or_default();
    match reference.rsplit_once('/') {
        Some((_, name)) => format!("<a href=\"#{0}\"><code>{0}</code></a>", escape(name)),
        None => String::new(),
    }
}

fn text(value: &Value) -> String {
    escape(value.as_str().unwrap_or_default())
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_page_shows_each_route_and_no_markup_of_others() {
        let description = json!({
            "info": {"title": "T<script>", "description": "d"},
            "paths": {"/a/{id}": {"get": {
                "tags": ["things"], "summary": "s & t",
                "parameters": [{"name": "id", "in": "path", "description": "which"}],
                "responses": {"200": {"description": "it", "content": {
                    "application/json": {"schema": {"$ref": "#/components/schemas/Thing"}}}}},
                "security": [{"key": ["read"]}]}}},
            "components": {"schemas": {"Thing": {"description": "a thing"}}},
        });
        let page = page(&description);
        for expect in [
            "T&lt;script&gt;",
            "<code>/a/{id}</code>",
            "s &amp; t",
            "needs a key with <code>read</code>",
            "<a href=\"#Thing\">",
            "<details id=\"Thing\">",
        ] {
            assert!(page.contains(expect), "{expect} is not in {page}");
        }
        assert!(!page.contains("<script"));
    }
}
