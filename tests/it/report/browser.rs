//! The HTML report in a real browser: Chromium without a screen, through its `DevTools`.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use headless_chrome::{
    Browser, LaunchOptions, Tab,
    protocol::cdp::{Emulation, Log, Network, Page, Runtime, types::Event},
    types::PrintToPdfOptions,
};
use reprove::report::{Report, html};

use super::{HOSTILE, many, sample};
use crate::support::skip;

/// Where Debian and others put Chromium.
const PROGRAMS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "chrome"];

/// A page that is open, and what it did that it should not.
struct Open {
    tab: Arc<Tab>,
    wrong: Arc<Mutex<Vec<String>>>,
    _browser: Browser,
    _folder: tempfile::TempDir,
}

/// Returns the browser's program, `None` and a skip where there is none.
fn chromium() -> Option<PathBuf> {
    let folders = ["/usr/bin", "/usr/local/bin"];
    let found = folders
        .iter()
        .flat_map(|folder| PROGRAMS.map(|program| Path::new(folder).join(program)))
        .find(|path| path.exists());
    if found.is_none() {
        skip("there is no Chromium");
    }
    found
}

/// Opens the report's page; `None` where there is no browser.
fn open(report: &Report) -> Option<Open> {
    let program = chromium()?;
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("report.html");
    fs::write(&page, html::render(report)).unwrap();
    let options = LaunchOptions {
        path: Some(program),
        // Tests run as root too, for whom Chromium's own sandbox does not work.
        sandbox: false,
        window_size: Some((1300, 1000)),
        user_data_dir: Some(folder.path().join("profile")),
        args: vec![OsStr::new("--disable-dev-shm-usage")],
        idle_browser_timeout: Duration::from_secs(60),
        ..LaunchOptions::default()
    };
    let browser = Browser::new(options).unwrap();
    let tab = browser.new_tab().unwrap();
    tab.set_default_timeout(Duration::from_secs(20));
    let wrong = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&wrong);
    let own = format!("file://{}", page.display());
    let address = own.clone();
    let listener = move |event: &Event| {
        let said = match event {
            Event::RuntimeExceptionThrown(event) => format!("{:?}", event.params.exception_details),
            Event::RuntimeConsoleAPICalled(event) => format!("{:?}", event.params),
            Event::LogEntryAdded(event) => format!("{:?}", event.params.entry),
            Event::PageJavascriptDialogOpening(event) => format!("dialog {:?}", event.params),
            Event::NetworkRequestWillBeSent(event) if event.params.request.url != address => {
                format!("request of {}", event.params.request.url)
            }
            _ => return,
        };
        heard.lock().unwrap().push(said);
    };
    tab.add_event_listener(Arc::new(listener)).unwrap();
    tab.call_method(Runtime::Enable(None)).unwrap();
    tab.call_method(Log::Enable(None)).unwrap();
    tab.call_method(Page::Enable {
        enable_file_chooser_opened_event: None,
    })
    .unwrap();
    tab.call_method(Network::Enable {
        max_total_buffer_size: None,
        max_resource_buffer_size: None,
        max_post_data_size: None,
        report_direct_socket_traffic: None,
        enable_durable_messages: None,
    })
    .unwrap();
    tab.navigate_to(&own)
        .unwrap()
        .wait_until_navigated()
        .unwrap();
    Some(Open {
        tab,
        wrong,
        _browser: browser,
        _folder: folder,
    })
}

impl Open {
    /// Returns what an expression of the page's own language comes to.
    #[track_caller]
    fn value(&self, expression: &str) -> serde_json::Value {
        let object = self.tab.evaluate(expression, false).unwrap();
        object.value.unwrap_or(serde_json::Value::Null)
    }

    #[track_caller]
    fn text(&self, selector: &str) -> String {
        let expression = format!("document.querySelector({selector:?}).innerText");
        self.value(&expression).as_str().unwrap().to_owned()
    }

    /// Waits until an expression holds.
    #[track_caller]
    fn wait(&self, expression: &str) {
        let until = Instant::now() + Duration::from_secs(10);
        while self.value(expression) != true {
            assert!(
                Instant::now() < until,
                "never: {expression}; {}",
                self.text("#explorer")
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Chooses what a filter's option begins with.
    #[track_caller]
    fn choose(&self, filter: &str, option: &str) {
        let expression = format!(
            "(() => {{ const select = document.getElementById('filter-{filter}');
               const option = [...select.options].find((it) => it.text.startsWith({option:?}));
               select.value = option.value;
               select.dispatchEvent(new Event('change')); return true; }})()"
        );
        assert_eq!(self.value(&expression), true, "{filter} {option}");
    }

    /// Keeps a picture where `REPROVE_PICTURES` says, for a person to look at.
    fn picture(&self, name: &str) {
        let Some(folder) = std::env::var_os("REPROVE_PICTURES") else {
            return;
        };
        let format = Page::CaptureScreenshotFormatOption::Png;
        let picture = self.tab.capture_screenshot(format, None, None, true);
        let picture = picture.unwrap();
        fs::write(Path::new(&folder).join(name), picture).unwrap();
    }

    fn colours(&self, scheme: &str) {
        let feature = Emulation::MediaFeature {
            name: "prefers-color-scheme".to_owned(),
            value: scheme.to_owned(),
        };
        self.tab
            .call_method(Emulation::SetEmulatedMedia {
                media: None,
                features: Some(vec![feature]),
            })
            .unwrap();
    }

    #[track_caller]
    fn nothing_went_wrong(&self) {
        let wrong = self.wrong.lock().unwrap();
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
}

#[test]
fn a_page_is_searched_filtered_and_opened_by_keyboard() {
    let folder = tempfile::tempdir().unwrap();
    let report = sample(folder.path());
    let Some(page) = open(&report) else {
        return;
    };
    assert_eq!(page.text("#verdict"), "Not reproduced");
    let all = page.text("#count");
    page.colours("light");
    page.picture("light.png");

    // By keyboard: to the search, a word, on to the first difference, and open it.
    page.tab.press_key("/").unwrap();
    assert_eq!(page.value("document.activeElement.id"), "search");
    page.tab.type_str("settings").unwrap();
    page.wait("document.querySelectorAll('#list > details').length === 1");
    page.wait("document.querySelector('#list > details').open");
    page.wait("document.querySelector('#list .sides mark') !== null");
    let content = page.text("#list .content");
    assert!(
        content.contains("\"built\": \"mon\"") && content.contains("}</script><b>"),
        "{content}"
    );
    page.picture("opened.png");
    assert_eq!(
        page.value(
            "document.querySelector('#list summary').focus(); document.activeElement.tagName"
        ),
        "SUMMARY"
    );
    page.tab.press_key("Enter").unwrap();
    page.wait("!document.querySelector('#list > details').open");
    page.wait(
        "document.activeElement.matches(':focus-visible') && getComputedStyle(document.activeElement).outlineStyle === 'solid'",
    );

    page.value("document.getElementById('clear').click()");
    page.wait(&format!(
        "document.getElementById('count').innerText === {all:?}"
    ));
    let cases = [
        ("owner", "libc6", 2),
        ("risk", "setuid", 1),
        ("acceptance", "waived", 1),
        ("layer", "layer 0", 123),
        ("cause", "tar.mtime", 120),
        ("state", "no known cause", 7),
    ];
    for (filter, option, count) in cases {
        page.choose(filter, option);
        let count = format!("{count} of ");
        let said = page.text("#count");
        assert!(said.starts_with(&count), "{filter} {option}: {said}");
        page.value("document.getElementById('clear').click()");
    }

    // What the page shows without scripts and with them is in the same order.
    let written = html::render(&report);
    let (_, written) = written.split_once("class=\"place\"").unwrap();
    let first = page.text("#list .path");
    let at = written.find("class=\"path\">").unwrap();
    assert!(
        written[at..].starts_with(&format!("class=\"path\">{first}<")),
        "{first}"
    );

    // The tree: a folder is looked at alone, and again all.
    page.value("document.querySelector('.tree button[data-path=\"/app\"]').click()");
    assert!(
        page.text("#count").contains(" in /app"),
        "{}",
        page.text("#count")
    );
    assert_eq!(
        page.value("document.querySelector('.tree button[data-path=\"/app\"]').getAttribute('aria-pressed')"),
        "true"
    );
    page.value("document.querySelector('.tree button[data-path=\"/app\"]').click()");
    assert_eq!(page.text("#count"), all);

    // What a hostile image calls a file is text.
    page.value("document.getElementById('search').value = 'onerror'; document.getElementById('search').dispatchEvent(new Event('input'))");
    page.wait("document.querySelectorAll('#list > details').length === 1");
    assert!(
        page.text("#list .path").ends_with(HOSTILE),
        "{}",
        page.text("#list .path")
    );
    assert_eq!(page.value("document.images.length"), 0);
    page.nothing_went_wrong();
}

#[test]
fn bytes_stand_side_by_side_between_what_is_equal() {
    let folder = tempfile::tempdir().unwrap();
    let Some(page) = open(&sample(folder.path())) else {
        return;
    };
    page.value("document.getElementById('search').value = 'libc.so'; document.getElementById('search').dispatchEvent(new Event('input'))");
    page.wait("document.querySelector('#list .bytes') !== null");
    let rows = page.value(
        "[...document.querySelectorAll('#list .bytes tbody tr')]
         .map((row) => [...row.cells].map((cell) => cell.textContent.trim()).join('|')).join('\\n')",
    );
    let expected = [
        "00000039|00 00 47 43 43 3a 20|··GCC:|00000039|00 00 47 43 43 3a 20|··GCC:",
        "00000040|62 75 69 6c 64 2d 37 66|build-7f|00000040|62 75 69 6c 64 2d 39 31|build-91",
        "00000048|33 61 20 3c 73 63 72 69|3a <scri|00000048|63 32 20 3c 62 3e|c2 <b>",
        "00000050|70 74 3e 0a|pt>·|||",
        "… 166 bytes that the report does not hold",
        "000000fa|00 2e 73 68 73 74|·.shst|000000fa|00 2e 73 68 73 74|·.shst",
        "00000100|72 74 61 62 00|rtab·|00000100|72 74 61 62 00|rtab·",
    ];
    assert_eq!(rows, expected.join("\n"));
    let marked = page.value(
        "[...document.querySelectorAll('#list .bytes .letters mark')].map((mark) => mark.textContent).join('')",
    );
    assert_eq!(marked, "7f913ascric2b>pt>·");
    page.value("document.querySelector('#list .bytes').scrollIntoView({ block: 'center' })");
    page.picture("bytes.png");
    page.colours("dark");
    page.picture("bytes-dark.png");
    page.nothing_went_wrong();
}

#[test]
fn a_page_is_dark_where_that_is_preferred_and_prints() {
    let folder = tempfile::tempdir().unwrap();
    let Some(page) = open(&sample(folder.path())) else {
        return;
    };
    let back = "getComputedStyle(document.body).backgroundColor";
    page.colours("light");
    assert_eq!(page.value(back), "rgb(247, 247, 245)");
    page.colours("dark");
    assert_eq!(page.value(back), "rgb(21, 23, 26)");
    page.picture("dark.png");
    let low = page.value(CONTRAST);
    assert_eq!(low, "[]", "dark");
    page.colours("light");
    assert_eq!(page.value(CONTRAST), "[]", "light");

    let options = PrintToPdfOptions {
        print_background: Some(true),
        ..PrintToPdfOptions::default()
    };
    let paper = page.tab.print_to_pdf(Some(options)).unwrap();
    assert!(paper.starts_with(b"%PDF"));
    if let Some(folder) = std::env::var_os("REPROVE_PICTURES") {
        fs::write(Path::new(&folder).join("paper.pdf"), paper).unwrap();
    }
    page.nothing_went_wrong();
}

/// Returns the texts of the page that do not stand out enough: WCAG 2.2, 1.4.3 (AA).
const CONTRAST: &str = r"(() => {
  const parse = (colour) => colour.match(/[\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((part) => part / 255)
    .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
    .reduce((sum, part, index) => sum + part * [0.2126, 0.7152, 0.0722][index], 0);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour.length === 3 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const low = new Set();
  for (const element of document.querySelectorAll('body *')) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!own || !element.checkVisibility()) continue;
    const [one, other] = [light(parse(getComputedStyle(element).color)), light(behind(element))].sort((x, y) => y - x);
    if ((one + 0.05) / (other + 0.05) < 4.5) low.add(`${element.tagName}.${element.className}`);
  }
  return JSON.stringify([...low]);
})()";

#[test]
fn a_page_of_twenty_thousand_findings_stays_quick() {
    let folder = tempfile::tempdir().unwrap();
    let Some(page) = open(&many(sample(folder.path()), 20_000)) else {
        return;
    };
    assert!(
        page.text("#count").starts_with("20,"),
        "{}",
        page.text("#count")
    );
    let shown = "document.querySelectorAll('#list > details').length";
    assert_eq!(page.value(shown), 50);
    page.value("document.getElementById('more').click()");
    assert_eq!(page.value(shown), 100);
    page.value("window.begun = performance.now(); document.getElementById('search').value = 'file-19999'; document.getElementById('search').dispatchEvent(new Event('input'))");
    page.wait("document.querySelectorAll('#list > details').length === 1");
    let took = page
        .value("performance.now() - window.begun")
        .as_f64()
        .unwrap();
    assert!(took < 3000.0, "{took} ms");
    page.nothing_went_wrong();
}

#[test]
fn a_page_says_what_matters_without_scripts() {
    let folder = tempfile::tempdir().unwrap();
    let Some(page) = open(&sample(folder.path())) else {
        return;
    };
    page.tab
        .call_method(Emulation::SetScriptExecutionDisabled { value: true })
        .unwrap();
    // The tab waits for a navigation only once it has heard of one, which may be too late
    // to notice a reload.
    page.value("window.before = true");
    page.tab.reload(true, None).unwrap();
    page.wait(
        "window.before === undefined && document.readyState === 'complete'
         && document.getElementById('report') !== null",
    );
    let content = page.tab.get_content().unwrap();
    let (text, _) = content.split_once("id=\"report\">").unwrap();
    for word in [
        "Not reproduced",
        "Searching, filtering",
        "/usr/lib/libc.so.6",
        "note .note.gnu.build-id",
    ] {
        assert!(text.contains(word), "{word}");
    }
    page.picture("without.png");
    page.nothing_went_wrong();
}
