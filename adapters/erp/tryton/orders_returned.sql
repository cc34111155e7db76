with shipped as (select 'stock.shipment.out.return,' || id as shipment from unnest($1::int[]) id)
{{>of_shipments.sql}}
