//! The status as a page for a browser.

use super::screen::{Screen, WELL};
use super::table::escaped;

impl Screen {
    /// As a page that needs nothing but itself.
    pub(super) fn html(&self) -> String {
        let mut page = PAGE.to_owned();
        let class = if self.word == WELL { "ok" } else { "bad" };
        for text in [
            "<p>",
            &escaped(&self.head),
            "</p>\n<p><b class=",
            class,
            ">",
            self.word,
            "</b> ",
            &escaped(&self.sum),
            "</p>\n",
        ] {
            page.push_str(text);
        }
        for table in &self.tables {
            table.push_html(&mut page);
        }
        page.push_str("<p>");
        page.push_str(&escaped(&self.foot));
        page.push_str(
            "</p>\n<p><a href=\"/metrics\">/metrics</a> <a href=\"/healthz\">/healthz</a></p>\n",
        );
        page
    }
}

/// The beginning of the page. On a phone each row is a list of names and values.
const PAGE: &str = "<!DOCTYPE html>
<html lang=en><meta charset=utf-8><title>logagent</title>
<meta name=viewport content=\"width=device-width,initial-scale=1\"><meta http-equiv=refresh content=10>
<style>
:root{color-scheme:light dark}
body{font:15px/1.45 system-ui,sans-serif;margin:1rem auto;max-width:72rem;padding:0 1rem}
table{border-collapse:collapse;width:100%;margin:1rem 0}
th,td{padding:.25rem .6rem;border-bottom:1px solid #8885;text-align:left;overflow-wrap:anywhere}
p{white-space:pre-wrap}th{font-weight:600}.n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
.bad{color:#c22}.ok{color:#292}
@media(max-width:640px){thead{display:none}tr{display:block;padding:.4rem 0;border-bottom:1px solid #8885}
td,td.n{display:flex;justify-content:space-between;gap:1rem;border:0;padding:.1rem 0;text-align:right;white-space:normal}
td::before{content:attr(data-n);opacity:.65;white-space:nowrap}}
</style>
<h1>Status</h1>
";
