#compdef entra-aws-exporter

_entra-aws-exporter() {
    local matches=($(${words[1]} --completion-bash "${(@)words[2,$CURRENT]}"))
    compadd -a matches

    if [[ $compstate[nmatches] -eq 0 && $words[$CURRENT] != -* ]]; then
        _files
    fi
}

if [[ "$(basename -- ${(%):-%x})" != "_entra-aws-exporter" ]]; then
    compdef _entra-aws-exporter entra-aws-exporter
fi
