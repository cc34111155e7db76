with shipped as (select shipment from unnest($1::text[]) shipment)
{{>of_shipments.sql}}
