//! The files in `conf/examples/`.

use super::*;

#[test]
fn every_example_loads_without_a_warning() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/examples");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let loaded = parse_bytes(&std::fs::read(&path).unwrap());
        let config = loaded.unwrap_or_else(|errors| panic!("{}: {errors}", path.display()));
        assert_eq!(config.warnings(), Vec::<String>::new());
        assert_eq!(config.logs.len(), 1);
        assert!(config.logs[0].record.is_some(), "{}", path.display());
        names.push(path.file_stem().unwrap().to_owned());
    }
    names.sort_unstable();
    let all = ["audit", "gbk", "java", "kubernetes", "nginx", "tenants"];
    assert_eq!(names, all);
}

#[test]
fn the_first_ini_of_the_readme_loads_and_the_readme_is_short() {
    let readme = include_str!("../../../README.md");
    let (_, block) = readme.split_once("\n\n    [kafka]\n").unwrap();
    let (block, _) = block.split_once("\n\n`").unwrap();
    let config = parse(&format!("[kafka]\n{block}\n")).unwrap();
    assert_eq!(config.logs.len(), 2);
    assert_eq!(config.warnings(), Vec::<String>::new());
    assert!(readme.lines().count() <= 250);
}
