// Rules by which Prometheus tells that something is wrong.

/** Written as Prometheus reads it. */
export const ALERT_RULES = `groups:
  - name: aoe
    rules:
      - alert: AoeDaemonAway
        expr: up{job=~".*aoe.*"} == 0
        for: 1m
        labels:
          severity: critical
        annotations:
          summary: "aoe on {{ $labels.instance }} does not answer"
      - alert: AoeDiskErrors
        expr: increase(aoe_target_errors_total{kind="disk"}[5m]) > 0
        labels:
          severity: critical
        annotations:
          summary: "The disk behind {{ $labels.export }} on {{ $labels.instance }} fails"
          description: "{{ $value | humanize }} answers were errors of the disk in five minutes"
      - alert: AoeDiskHangs
        expr: >-
          aoe_target_commands_in_hand > 0
          and on (instance, export)
          sum by (instance, export) (increase(aoe_target_commands_total{kind=~"read|write|flush"}[1m])) == 0
        for: 1m
        labels:
          severity: critical
        annotations:
          summary: "{{ $labels.export }} on {{ $labels.instance }} has commands in hand and answers none"
      - alert: AoeDiskSlow
        expr: >-
          histogram_quantile(0.99,
          sum by (instance, export, le) (rate(aoe_target_disk_seconds_bucket[5m]))) > 1
        for: 5m
        labels:
          severity: warning
        annotations:
          summary: "The disk behind {{ $labels.export }} on {{ $labels.instance }} takes {{ $value | humanizeDuration }}"
      - alert: AoeFramesLost
        expr: rate(aoe_target_interface_ring_overflows_total[5m]) > 0
        for: 5m
        labels:
          severity: warning
        annotations:
          summary: "{{ $labels.interface }} on {{ $labels.instance }} loses frames: they come faster than they are taken"
      - alert: AoeRetransmissions
        expr: >-
          sum by (instance, export) (rate(aoe_target_retransmissions_total[5m]))
          / sum by (instance, export) (rate(aoe_target_commands_total[5m])) > 0.01
        for: 5m
        labels:
          severity: warning
        annotations:
          summary: "More than one of a hundred commands for {{ $labels.export }} on {{ $labels.instance }} comes twice"
      - alert: AoeForbidden
        expr: increase(aoe_target_dropped_frames_total{reason="from a MAC that is not allowed"}[5m]) > 0
        labels:
          severity: info
        annotations:
          summary: "Somebody who may not asks for {{ $labels.export }} on {{ $labels.instance }}"
      - alert: AoeRemoteDiskDown
        expr: aoe_initiator_disk_up == 0
        for: 30s
        labels:
          severity: critical
        annotations:
          summary: "{{ $labels.disk }} does not answer {{ $labels.instance }}"
      - alert: AoePathLost
        expr: aoe_initiator_path_up == 0
        for: 5m
        labels:
          severity: warning
        annotations:
          summary: "{{ $labels.instance }} has lost a path to {{ $labels.disk }}, by {{ $labels.interface }}"
`;
