//! The files of the console, compressed. Written by `.ci/console`.

use super::asset::Asset;

/// Every file, sorted by name.
#[rustfmt::skip]
pub const FILES: &[Asset] = &[
    Asset {
        name: "api.js",
        media_type: "text/javascript; charset=utf-8",
        gzip: include_bytes!("assets/api.js.gz"),
    },
    Asset {
        name: "app.js",
        media_type: "text/javascript; charset=utf-8",
        gzip: include_bytes!("assets/app.js.gz"),
    },
    Asset {
        name: "boot.js",
        media_type: "text/javascript; charset=utf-8",
        gzip: include_bytes!("assets/boot.js.gz"),
    },
    Asset {
        name: "client-form.js",
        media_type: "text/javascript; charset=utf-8",
        gzip: include_bytes!("assets/client-form.js.gz"),
    },
    Asset {
        name: "dom.js",
        media_type: "text/javascript; charset=utf-8",
        gzip: include_bytes!("assets/dom.js.gz"),
    },
    Asset {
        name: "event.js",
        media_type: "text/javascript; charset=utf-8",
        gzip: include_bytes!("assets/event.js.gz"),
    },
    Asset {
        name: "icon.svg",
        media_type: "image/svg+xml",
        gzip: include_bytes!("assets/icon.svg.gz"),
    },
    Asset {
        name: "index.html",
        media_type: "text/html; charset=utf-8",
        gzip: include_bytes!("assets/index.html.gz"),
    },
    Asset {
        name: "log.js",
        media_type: "text/javascript; charset=utf-8",
        gzip: include_bytes!("assets/log.js.gz"),
    },
    Asset {
        name: "page-client.js",
        media_type: "text/javascript; charset=utf-8",
        gzip: include_bytes!("assets/page-client.js.gz"),
    },
    Asset {
        name: "page-clients.js",
        media_type: "text/javascript; charset=utf-8",
        gzip: include_bytes!("assets/page-clients.js.gz"),
    },
    Asset {
        name: "page-configuration.js",
        media_type: "text/javascript; charset=utf-8",
        gzip: include_bytes!("assets/page-configuration.js.gz"),
    },
    Asset {
        name: "page-events.js",
        media_type: "text/javascript; charset=utf-8",
        gzip: include_bytes!("assets/page-events.js.gz"),
    },
    Asset {
        name: "page-keys.js",
        media_type: "text/javascript; charset=utf-8",
        gzip: include_bytes!("assets/page-keys.js.gz"),
    },
    Asset {
        name: "page-overview.js",
        media_type: "text/javascript; charset=utf-8",
        gzip: include_bytes!("assets/page-overview.js.gz"),
    },
    Asset {
        name: "page-policies.js",
        media_type: "text/javascript; charset=utf-8",
        gzip: include_bytes!("assets/page-policies.js.gz"),
    },
    Asset {
        name: "page-session.js",
        media_type: "text/javascript; charset=utf-8",
        gzip: include_bytes!("assets/page-session.js.gz"),
    },
    Asset {
        name: "page-sign-in.js",
        media_type: "text/javascript; charset=utf-8",
        gzip: include_bytes!("assets/page-sign-in.js.gz"),
    },
    Asset {
        name: "page-subject.js",
        media_type: "text/javascript; charset=utf-8",
        gzip: include_bytes!("assets/page-subject.js.gz"),
    },
    Asset {
        name: "page-subjects.js",
        media_type: "text/javascript; charset=utf-8",
        gzip: include_bytes!("assets/page-subjects.js.gz"),
    },
    Asset {
        name: "page-token.js",
        media_type: "text/javascript; charset=utf-8",
        gzip: include_bytes!("assets/page-token.js.gz"),
    },
    Asset {
        name: "plot.js",
        media_type: "text/javascript; charset=utf-8",
        gzip: include_bytes!("assets/plot.js.gz"),
    },
    Asset {
        name: "sessions.js",
        media_type: "text/javascript; charset=utf-8",
        gzip: include_bytes!("assets/sessions.js.gz"),
    },
    Asset {
        name: "style.css",
        media_type: "text/css; charset=utf-8",
        gzip: include_bytes!("assets/style.css.gz"),
    },
    Asset {
        name: "time.js",
        media_type: "text/javascript; charset=utf-8",
        gzip: include_bytes!("assets/time.js.gz"),
    },
    Asset {
        name: "ui.js",
        media_type: "text/javascript; charset=utf-8",
        gzip: include_bytes!("assets/ui.js.gz"),
    },
    Asset {
        name: "uplot.js",
        media_type: "text/javascript; charset=utf-8",
        gzip: include_bytes!("assets/uplot.js.gz"),
    },
    Asset {
        name: "words.js",
        media_type: "text/javascript; charset=utf-8",
        gzip: include_bytes!("assets/words.js.gz"),
    },
];
